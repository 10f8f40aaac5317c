(module ;; a frame that is not all in its memory; ends with a trap
  (import "hil:can/frames@0.1.0" "open" (func $open (param i32 i32) (result i32)))
  (import "hil:can/frames@0.1.0" "send" (func $send (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "CAN0")
  (func (export "_start") (drop (call $send (call $open (i32.const 0) (i32.const 4)) (i32.const 65512)))))
