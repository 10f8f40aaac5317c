(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "_start") (i64.add128 (i64.const 40) (i64.const 0) (i64.const 2) (i64.const 0)) drop i32.wrap_i64 call $exit))
