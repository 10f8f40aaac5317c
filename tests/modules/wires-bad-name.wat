(module ;; a name of a channel that is not in its memory; ends with a trap
  (import "hil:analog/channels@0.1.0" "open" (func $open (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $open (i32.const 65534) (i32.const 3)))))
