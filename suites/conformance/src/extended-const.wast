;; SPDX-License-Identifier: Apache-2.0
;; Proposal: extended constant expressions.
(module
  (memory (export "memory") 1)
  (table 4 funcref)
  (global $a i32 (i32.add (i32.const 40) (i32.const 2)))
  (global $b i32 (i32.sub (i32.const 0) (i32.mul (i32.const 3) (i32.const 5))))
  (global $c i64 (i64.mul (i64.const 0x100000000) (i64.sub (i64.const 10) (i64.add (i64.const 1) (i64.const 2)))))
  (data (i32.add (i32.const 100) (i32.const 20)) "Z")
  (elem (i32.mul (i32.const 1) (i32.const 3)) $f)
  (func $f (result i32) (i32.const 9))
  (func (export "i32.add") (result i32) (global.get $a))
  (func (export "i32.sub-mul") (result i32) (global.get $b))
  (func (export "i64") (result i64) (global.get $c))
  (func (export "data-offset") (result i32) (i32.load8_u (i32.const 120)))
  (func (export "element-offset") (result i32) (call_indirect (result i32) (i32.const 3))))

(assert_return (invoke "i32.add") (i32.const 42))
(assert_return (invoke "i32.sub-mul") (i32.const -15))
(assert_return (invoke "i64") (i64.const 0x700000000))
(assert_return (invoke "data-offset") (i32.const 90))
(assert_return (invoke "element-offset") (i32.const 9))
