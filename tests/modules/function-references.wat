(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $f (func (param i32) (result i32))) (elem declare func $inc) (func $inc (type $f) (i32.add (local.get 0) (i32.const 1))) (func (export "_start") (call $exit (call_ref $f (i32.const 41) (ref.func $inc)))))
