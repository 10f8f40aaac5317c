(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory 1 1 shared) (func (export "_start") (call $exit (i32.add (i32.const 40) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1000000))))))
