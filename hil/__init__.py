"""Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems."""
