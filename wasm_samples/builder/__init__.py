# SPDX-License-Identifier: Apache-2.0
"""What `wasm_samples/build` consists of."""
