;; SPDX-License-Identifier: Apache-2.0
;; Proposal: wide arithmetic.
(module
  (func (export "i64.add128") (result i64 i64) (i64.add128 (i64.const -1) (i64.const 0) (i64.const 1) (i64.const 0)))
  (func (export "i64.mul_wide_u") (result i64 i64) (i64.mul_wide_u (i64.const -1) (i64.const -1))))

(assert_return (invoke "i64.add128") (i64.const 0) (i64.const 1))
(assert_return (invoke "i64.mul_wide_u") (i64.const 1) (i64.const -2))
