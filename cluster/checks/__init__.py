"""Rules that Kubernetes manifests are held against without a cluster."""
