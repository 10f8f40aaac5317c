(module ;; the errors of the host functions for CAN and analogue channels; exits with 42, or with the number of the first that is not as documented
  ;; runs with --pins=CAN0,CAN1,AI0,AO7,AI8
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "hil:can/frames@0.1.0" "open" (func $can_open (param i32 i32) (result i32)))
  (import "hil:can/frames@0.1.0" "close" (func $can_close (param i32) (result i32)))
  (import "hil:can/frames@0.1.0" "filter" (func $can_filter (param i32 i32 i32) (result i32)))
  (import "hil:can/frames@0.1.0" "send" (func $can_send (param i32 i32) (result i32)))
  (import "hil:can/frames@0.1.0" "receive" (func $can_receive (param i32 i32 i64) (result i32)))
  (import "hil:analog/channels@0.1.0" "open" (func $analog_open (param i32 i32) (result i32)))
  (import "hil:analog/channels@0.1.0" "read" (func $analog_read (param i32) (result i32)))
  (import "hil:analog/channels@0.1.0" "write" (func $analog_write (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "CAN0CAN1AI0 AO7 AI8 AO0 ")
  (data (i32.const 64) "\00\01\00\00\09")      ;; 9 bytes of data
  (data (i32.const 96) "\00\08\00\00\00")      ;; an id of 12 bits
  (data (i32.const 128) "\00\00\00\a0\00")     ;; an id of 30 bits
  (global $number (mut i32) (i32.const 0))
  (func $is (param $value i32) (param $expected i32)
    (global.set $number (i32.add (global.get $number) (i32.const 1)))
    (if (i32.ne (local.get $value) (local.get $expected)) (then (call $exit (global.get $number)))))
  (func (export "_start")
    (call $is (call $can_open (i32.const 0) (i32.const 4)) (i32.const 0))                      ;; CAN0
    (call $is (call $can_open (i32.const 0) (i32.const 4)) (i32.const 1))                      ;; again
    (call $is (call $can_open (i32.const 4) (i32.const 4)) (i32.const -2))                     ;; CAN1: unknown
    (call $is (call $can_open (i32.const 0) (i32.const 3)) (i32.const -1))                     ;; CAN: not allowed
    (call $is (call $can_send (i32.const 0) (i32.const 64)) (i32.const -5))                    ;; 5: bad values
    (call $is (call $can_send (i32.const 0) (i32.const 96)) (i32.const -5))
    (call $is (call $can_send (i32.const 0) (i32.const 128)) (i32.const -5))
    (call $is (call $can_send (i32.const 7) (i32.const 64)) (i32.const -3))                    ;; 8: bad handles
    (call $is (call $can_receive (i32.const -1) (i32.const 64) (i64.const -1)) (i32.const -3))
    (call $is (call $can_filter (i32.const 8) (i32.const 0) (i32.const 0)) (i32.const -3))
    (call $is (call $can_close (i32.const 2)) (i32.const -3))
    (call $is (call $can_receive (i32.const 0) (i32.const 64) (i64.const 0)) (i32.const 0))    ;; 12: no frame
    (call $is (call $can_receive (i32.const 0) (i32.const 64) (i64.const 1000000)) (i32.const 0))
    (call $is (call $can_close (i32.const 0)) (i32.const 0))
    (call $is (call $can_receive (i32.const 0) (i32.const 64) (i64.const -1)) (i32.const -3))
    (call $is (call $analog_open (i32.const 8) (i32.const 3)) (i32.const 0))                   ;; 16: AI0
    (call $is (call $analog_open (i32.const 12) (i32.const 3)) (i32.const 23))                 ;; AO7
    (call $is (call $analog_open (i32.const 16) (i32.const 3)) (i32.const -2))                 ;; AI8: unknown
    (call $is (call $analog_open (i32.const 20) (i32.const 3)) (i32.const -1))                 ;; AO0: not allowed
    (call $is (call $analog_read (i32.const 23)) (i32.const -4))                               ;; 20: wrong directions
    (call $is (call $analog_write (i32.const 0) (i32.const 1)) (i32.const -4))
    (call $is (call $analog_read (i32.const 1)) (i32.const -3))                                ;; 22: bad handles
    (call $is (call $analog_write (i32.const 24) (i32.const 1)) (i32.const -3))
    (call $is (call $analog_write (i32.const -1) (i32.const 1)) (i32.const -3))
    (call $is (call $analog_write (i32.const 23) (i32.const 65536)) (i32.const -5))            ;; 25: bad value
    (call $is (call $analog_write (i32.const 23) (i32.const 65535)) (i32.const 0))
    (call $exit (i32.const 42))))
