"""What a run will take, from measured rates: bytes, hours, instances, money."""
