(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $f (func (result i32))) (table funcref (elem $g)) (func $g (result i32) i32.const 42) (func $h (result i32) (return_call_indirect (type $f) (i32.const 0))) (func (export "_start") (call $exit (call $h))))
