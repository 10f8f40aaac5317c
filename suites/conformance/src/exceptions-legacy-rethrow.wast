;; SPDX-License-Identifier: Apache-2.0
;; Proposal: exception handling in its older form: `rethrow` and `delegate`.
(module
  (tag $number (param i32))
  (func (export "rethrow") (result i32)
    try (result i32)
      try (result i32) i32.const 5 throw $number catch_all rethrow 0 end
    catch $number end)
  (func (export "delegate") (result i32)
    try $outer (result i32)
      try (result i32) i32.const 6 throw $number delegate $outer
    catch $number end))

(assert_return (invoke "rethrow") (i32.const 5))
(assert_return (invoke "delegate") (i32.const 6))
