(module ;; a handle of another kind of pin; ends with a trap
  (import "wasi:gpio/digital@0.2.0" "[static]digital-out-pin.get" (func $out (param i32 i32 i32 i32 i32)))
  (import "wasi:gpio/digital@0.2.0" "[method]digital-in-pin.read" (func $read (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "LED")
  (func (export "_start")
    (call $out (i32.const 256) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $read (i32.load (i32.const 4)) (i32.const 0))))
