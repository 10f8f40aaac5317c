"""OCI artifacts in registries and image layouts: references, manifests, blobs. Digest and size verify each byte."""
