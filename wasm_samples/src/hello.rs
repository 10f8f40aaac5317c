// SPDX-License-Identifier: Apache-2.0
//! Greets, then works out an arithmetic expression (the first argument, or a built-in one).
//!
//! The sum is really computed, from text, so that a right answer shows that calls, the heap and
//! output work and not only that a constant string came through.

use std::env;
use std::fmt;
use std::process::ExitCode;

#[derive(Clone, Copy)]
enum Token {
    Number(i64),
    Operator(char),
    Open,
    Close,
}

enum Mistake {
    Unexpected(char),
    Incomplete,
    Unbalanced,
    Overflow,
    DivisionByZero,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unexpected(c) => write!(out, "unexpected '{c}'"),
            Mistake::Incomplete => out.write_str("a number or '(' is missing"),
            Mistake::Unbalanced => out.write_str("parentheses do not match"),
            Mistake::Overflow => out.write_str("number out of range"),
            Mistake::DivisionByZero => out.write_str("division by zero"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let mut found: Vec<Token> = Vec::new();
    let mut in_number = false;
    for c in text.chars() {
        let digit = c.to_digit(10).map(i64::from);
        match (digit, found.last_mut()) {
            (Some(digit), Some(Token::Number(value))) if in_number => {
                *value = value
                    .checked_mul(10)
                    .and_then(|tens| tens.checked_add(digit))
                    .ok_or(Mistake::Overflow)?;
            }
            (Some(digit), _) => found.push(Token::Number(digit)),
            (None, _) => match c {
                ' ' => {}
                '+' | '-' | '*' | '/' => found.push(Token::Operator(c)),
                '(' => found.push(Token::Open),
                ')' => found.push(Token::Close),
                other => return Err(Mistake::Unexpected(other)),
            },
        }
        in_number = digit.is_some();
    }
    Ok(found)
}

/// Recursive descent with binding powers: one function for all binary operators.
struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// The value of what follows, up to an operator that binds no tighter than `floor`.
    fn expression(&mut self, floor: u8) -> Result<i64, Mistake> {
        let mut left = self.operand()?;
        while let Some(Token::Operator(operator)) = self.peek() {
            let power = if matches!(operator, '*' | '/') { 2 } else { 1 };
            if power <= floor {
                break;
            }
            self.at += 1;
            let right = self.expression(power)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<i64, Mistake> {
        match self.next() {
            Some(Token::Number(value)) => Ok(value),
            Some(Token::Operator('-')) => self.operand()?.checked_neg().ok_or(Mistake::Overflow),
            Some(Token::Open) => {
                let value = self.expression(0)?;
                match self.next() {
                    Some(Token::Close) => Ok(value),
                    _ => Err(Mistake::Unbalanced),
                }
            }
            _ => Err(Mistake::Incomplete),
        }
    }
}

fn apply(operator: char, left: i64, right: i64) -> Result<i64, Mistake> {
    match operator {
        '+' => left.checked_add(right),
        '-' => left.checked_sub(right),
        '*' => left.checked_mul(right),
        _ if right == 0 => return Err(Mistake::DivisionByZero),
        _ => left.checked_div(right),
    }
    .ok_or(Mistake::Overflow)
}

fn evaluate(text: &str) -> Result<i64, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let value = parser.expression(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(Mistake::Unbalanced),
    }
}

fn main() -> ExitCode {
    let text = env::args().nth(1).unwrap_or_else(|| String::from("1+2-3*4"));
    println!("hello, sel4");
    match evaluate(&text) {
        Ok(value) => {
            println!("{text} = {value}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            println!("{text}: {mistake}");
            ExitCode::FAILURE
        }
    }
}
