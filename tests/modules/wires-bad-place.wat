(module ;; receives to a place that is not aligned; ends with a trap
  (import "hil:can/frames@0.1.0" "open" (func $open (param i32 i32) (result i32)))
  (import "hil:can/frames@0.1.0" "receive" (func $receive (param i32 i32 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "CAN0")
  (func (export "_start") (drop (call $receive (call $open (i32.const 0) (i32.const 4)) (i32.const 68) (i64.const 0)))))
