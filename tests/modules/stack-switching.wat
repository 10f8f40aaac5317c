(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $ft (func)) (type $ct (cont $ft)) (elem declare func $f) (func $f) (func (export "_start") (resume $ct (cont.new $ct (ref.func $f))) (call $exit (i32.const 42))))
