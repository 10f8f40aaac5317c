;; SPDX-License-Identifier: Apache-2.0
;; Proposal: memory64. The first memory has 32 bits, for WASI.
(module
  (memory (export "memory") 1)
  (memory $m i64 1 2)
  (func (export "store") (result i64) (i64.store $m (i64.const 65528) (i64.const 7)) (i64.load $m (i64.const 65528)))
  (func (export "memory.size") (result i64) (memory.size $m))
  (func (export "memory.grow") (result i64) (memory.grow $m (i64.const 1)))
  (func (export "memory.grow-too-far") (result i64) (memory.grow $m (i64.const 0x100000000))))

(assert_return (invoke "store") (i64.const 7))
(assert_return (invoke "memory.size") (i64.const 1))
(assert_return (invoke "memory.grow") (i64.const 1))
(assert_return (invoke "memory.grow-too-far") (i64.const -1))
