(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $p (struct (field i32) (field (mut i32)))) (func (export "_start") (local $s (ref null $p)) (local.set $s (struct.new $p (i32.const 40) (i32.const 0))) (struct.set $p 1 (local.get $s) (i32.const 2)) (call $exit (i32.add (struct.get $p 0 (local.get $s)) (struct.get $p 1 (local.get $s))))))
