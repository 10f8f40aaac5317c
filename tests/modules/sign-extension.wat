(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "_start") (call $exit (i32.add (i32.extend8_s (i32.const 255)) (i32.const 43)))))
