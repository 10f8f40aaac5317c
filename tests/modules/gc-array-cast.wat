(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $a (array (mut i8))) (func (export "_start") (local $x anyref) (local.set $x (array.new $a (i32.const 42) (i32.const 10))) (if (i32.eqz (ref.test (ref $a) (local.get $x))) (then unreachable)) (call $exit (array.get_u $a (ref.cast (ref $a) (local.get $x)) (i32.const 9)))))
