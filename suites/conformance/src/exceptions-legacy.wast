;; SPDX-License-Identifier: Apache-2.0
;; Proposal: exception handling in its older form, which compilers still emit: `try` and `catch`.
(module
  (tag $number (param i32))
  (tag $empty)
  (func $throw (param i32) (if (local.get 0) (then (throw $number (local.get 0)))))
  (func (export "catch") (param i32) (result i32)
    try (result i32) local.get 0 call $throw i32.const 100 catch $number end)
  (func (export "catch_all") (result i32)
    try (result i32) throw $empty catch $number drop i32.const 1 catch_all i32.const 2 end)
  (func (export "nested") (result i32)
    try (result i32)
      try (result i32) i32.const 7 throw $number catch $empty i32.const 8 end
    catch $number end))

(assert_return (invoke "catch" (i32.const 0)) (i32.const 100))
(assert_return (invoke "catch" (i32.const 3)) (i32.const 3))
(assert_return (invoke "catch_all") (i32.const 2))
(assert_return (invoke "nested") (i32.const 7))
