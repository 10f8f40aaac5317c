(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory 1 1 shared) (func (export "_start") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 42))) (drop (memory.atomic.notify (i32.const 0) (i32.const 1))) (atomic.fence) (call $exit (i32.atomic.load (i32.const 0)))))
