(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (tag $e (param i32)) (func $f (throw $e (i32.const 42))) (func (export "_start") (block $h (result i32) (try_table (catch $e $h) (call $f)) (i32.const 1)) (call $exit)))
