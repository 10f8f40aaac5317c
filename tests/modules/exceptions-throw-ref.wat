(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (tag $e (param i32)) (func $f (throw $e (i32.const 42))) (func $g (block $h (result exnref) (try_table (catch_all_ref $h) (call $f)) unreachable) throw_ref) (func (export "_start") (block $h (result i32) (try_table (catch $e $h) (call $g)) (i32.const 1)) (call $exit)))
