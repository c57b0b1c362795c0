"""Damaged ECG files: random changes of good ones, and bombs."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator

import format_writers as write
import numpy as np
from wfdb_writer import ecg_mv

_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF, ord("9"), ord("-"), ord("<"), ord("e"))


def good_files() -> dict[str, bytes]:
    """A small file of every format that is read whole."""
    ecg = ecg_mv(2.0, 500)
    rhythm = write.dicom_group(ecg)
    return {
        "dicom": write.dicom([write.dicom_group(ecg[:, :100], label="MEDIAN"), rhythm]),
        "dicom implicit": write.dicom([rhythm], explicit=False),
        "muse": write.muse(ecg, 500),
        "philips": write.philips(ecg),
        "philips plain": write.philips(ecg, encoding="plain"),
        "aecg": write.aecg(ecg),
        "scp": write.scp(ecg),
        "edf": write.edf(ecg),
    }


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Files with some bytes, numbers or whole pieces changed; most changes are in the first bytes."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            # Headers decide more than samples.
            end = len(data) if rng.random() < 0.4 else min(len(data), 1500)
            place = int(rng.integers(0, max(end, 1)))
            kind = rng.integers(0, 7)
            if kind == 0:
                data[place : place + 1] = bytes([int(rng.choice(_BYTES))])
            elif kind == 1:
                data[place : place + 1] = bytes([int(rng.integers(0, 256))])
            elif kind == 2:
                del data[place : place + int(rng.integers(1, 40))]
            elif kind == 3:
                data[place:place] = rng.bytes(int(rng.integers(1, 20)))
            elif kind == 4:
                size = int(rng.integers(1, 200))
                data[place:place] = data[place : place + size]
            elif kind == 5:
                value = int(rng.choice([0, 1, -1, 2**15, 2**31 - 1, 2**16 - 1]))
                data[place : place + 4] = struct.pack("<i", value)
            else:
                del data[place:]
            if not data:
                break
        yield bytes(data)


def bombs() -> dict[str, bytes]:
    """Files that would take hours, gigabytes or another file, were they believed."""
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    declared = f'<!DOCTYPE RestingECG [<!ENTITY a0 "ha">{laughs}]>'
    xml = f'<?xml version="1.0"?>{declared}<RestingECG>&a11;</RestingECG>'
    outside = '<!DOCTYPE RestingECG [<!ENTITY x SYSTEM "file:///etc/passwd">]><RestingECG>&x;</RestingECG>'
    parameter = '<!DOCTYPE AnnotatedECG [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]><AnnotatedECG/>'
    ecg = ecg_mv(2.0, 500)
    edf = write.edf(ecg)
    scp = write.scp(ecg)
    # Codes that double what is written: 256, 257, ... each one longer than the one before.
    codes = "".join(f"{code:010b}" for code in [65, *range(256, 1023), *[1022] * 60_000])
    chunk = int(codes + "0" * (-len(codes) % 8), 2).to_bytes((len(codes) + 7) // 8, "big")
    endless = base64.b64encode((struct.pack("<ihh", len(chunk), 1, 0) + chunk) * 12)
    philips = write.philips(ecg)
    start, end = philips.index(b'channel="2000">') + 14, philips.index(b"</parsedwaveforms>")
    return {
        "billion laughs": xml.encode(),
        "UTF-16 laughs": xml.replace("?>", ' encoding="UTF-16"?>', 1).encode("utf-16"),
        "external entity": outside.encode(),
        "parameter entity": parameter.encode(),
        "deep XML": b"<RestingECG>" + b"<a>" * 100_000,
        "many elements": b"<RestingECG>" + b"<a/>" * 500_000 + b"</RestingECG>",
        "many attributes": b"<RestingECG " + b" ".join(b'a%d="x"' % n for n in range(50_000)) + b"/>",
        "EDF of many blocks": edf[:236] + b"99999999" + edf[244:],
        "EDF of endless blocks": edf[:244] + b"1e-300  " + edf[252:],
        "SCP of many samples": scp.replace(struct.pack("<II", 1, 1000), struct.pack("<II", 1, 2**32 - 1)),
        "endless LZW": philips[: start + 1] + endless + philips[end:],
        "MUSE at 1e300 Hz": write.muse(ecg).replace(b"<SampleExponent>0", b"<SampleExponent>300"),
        "aECG at 1e300 Hz": write.aecg(ecg).replace(b'value="0.002"', b'value="1e-300"'),
        "DICOM of many samples": _dicom_of_many_samples(ecg),
        "deflated DICOM": write.dicom([write.dicom_group(ecg)]).replace(
            b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
        ),
    }


def _dicom_of_many_samples(ecg: np.ndarray) -> bytes:
    group = write.dicom_group(ecg)
    group.NumberOfWaveformSamples = 2**32 - 1
    return write.dicom([group])
