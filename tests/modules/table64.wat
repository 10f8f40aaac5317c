(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (table i64 1 funcref) (func (export "_start") (call $exit (i32.add (i32.const 41) (i32.wrap_i64 (table.size 0))))))
