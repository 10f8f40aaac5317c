(module ;; requests a name without a function to allocate it; ends with a trap
  (import "wasi:gpio/digital@0.2.0" "[static]digital-in-pin.get" (func $in (param i32 i32 i32 i32 i32)))
  (import "wasi:gpio/digital@0.2.0" "[method]digital-in-pin.get-config" (func $config (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "BUTTON")
  (func (export "_start")
    (call $in (i32.const 256) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $config (i32.load (i32.const 4)) (i32.const 0))))
