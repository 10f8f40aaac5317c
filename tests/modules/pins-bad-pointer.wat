(module ;; a name that is not in its memory; ends with a trap
  (import "wasi:gpio/digital@0.2.0" "[static]digital-in-pin.get" (func $in (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $in (i32.const 65530) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0))))
