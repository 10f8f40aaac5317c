(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (table $t 2 externref) (func (export "_start") (call $exit (i32.add (i32.const 40) (table.grow $t (ref.null extern) (i32.const 1))))))
