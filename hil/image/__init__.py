"""Images: manifests, the cache of built ones, and the builder."""

from hil.image.manifest import AgentFacts, ConsoleFacts, Machine, Manifest, Stage, available, find, load
from hil.image.store import Image, open, verify

def ensure(manifest, progress=None):
    return open(manifest)
