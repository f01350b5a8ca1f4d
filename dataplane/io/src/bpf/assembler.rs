//! A BPF assembler for programs of a few dozen instructions. Source: linux/bpf_common.h, linux/bpf.h.

use std::collections::BTreeMap;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "r0 is the result, r1 to r5 are arguments and lost in calls, r6 to r9 are kept"
)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// The end of the stack, read only.
    Fp,
}

/// Bytes of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// 1.
    Byte = 0x10,
    /// 2.
    Half = 0x08,
    /// 4.
    Word = 0x00,
    /// 8.
    Double = 0x18,
}

/// What a conditional jump compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// Equal.
    Equal = 0x10,
    /// Greater, unsigned.
    Greater = 0x20,
    /// Not equal.
    NotEqual = 0x50,
}

/// Arithmetic on 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// `to += …`.
    Add = 0x00,
    /// `to &= …`.
    And = 0x50,
    /// `to %= …`, unsigned.
    Modulo = 0x90,
    /// `to *= …`.
    Multiply = 0x20,
    /// `to -= …`.
    Subtract = 0x10,
    /// `to >>= …`, filled with zeros.
    ShiftRight = 0x70,
    /// `to ^= …`.
    Xor = 0xa0,
}

/// A program in the making. Jumps go forward, to labels by name.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<u64>,
    labels: BTreeMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

const CLASS_LOAD: u8 = 0x61;
const CLASS_STORE_IMM: u8 = 0x62;
const CLASS_STORE: u8 = 0x63;
const ALU64_IMM: u8 = 0x07;
const ALU64_REG: u8 = 0x0f;
const MOVE: u8 = 0xb0;
const JUMP_IMM: u8 = 0x05;
const JUMP_REG: u8 = 0x0d;
const JUMP_WORD_IMM: u8 = 0x06;
const TO_NETWORK: u8 = 0xdc;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ATOMIC_ADD_64: u8 = 0xdb;
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_KERNEL_FUNCTION: u8 = 2;

impl Assembler {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `to = *(from + offset)`.
    pub fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.emit((CLASS_LOAD & !0x18) | width as u8, to as u8, from as u8, offset, 0)
    }

    /// `*(to + offset) = from`.
    pub fn store(&mut self, width: Width, to: Reg, offset: i16, from: Reg) -> &mut Self {
        self.emit((CLASS_STORE & !0x18) | width as u8, to as u8, from as u8, offset, 0)
    }

    /// `*(to + offset) = value`.
    pub fn store_value(&mut self, width: Width, to: Reg, offset: i16, value: i32) -> &mut Self {
        self.emit((CLASS_STORE_IMM & !0x18) | width as u8, to as u8, 0, offset, value)
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Reg, from: Reg) -> &mut Self {
        self.emit(ALU64_REG | MOVE, to as u8, from as u8, 0, 0)
    }

    /// `to = value`, sign extended.
    pub fn set(&mut self, to: Reg, value: i32) -> &mut Self {
        self.emit(ALU64_IMM | MOVE, to as u8, 0, 0, value)
    }

    /// Arithmetic with a constant.
    pub fn alu(&mut self, operation: Alu, to: Reg, value: i32) -> &mut Self {
        self.emit(ALU64_IMM | operation as u8, to as u8, 0, 0, value)
    }

    /// Arithmetic with a register.
    pub fn alu_reg(&mut self, operation: Alu, to: Reg, from: Reg) -> &mut Self {
        self.emit(ALU64_REG | operation as u8, to as u8, from as u8, 0, 0)
    }

    /// `to` = its lowest 16, 32 or 64 bits in network order, the others 0.
    pub fn to_network(&mut self, to: Reg, bits: i32) -> &mut Self {
        self.emit(TO_NETWORK, to as u8, 0, 0, bits)
    }

    /// `*(u64 *)(to + offset) += from`, atomically.
    pub fn atomic_add(&mut self, to: Reg, offset: i16, from: Reg) -> &mut Self {
        self.emit(ATOMIC_ADD_64, to as u8, from as u8, offset, 0)
    }

    /// `to` = the map behind a descriptor.
    pub fn load_map(&mut self, to: Reg, fd: i32) -> &mut Self {
        self.emit(0x18, to as u8, PSEUDO_MAP_FD, 0, fd);
        self.code.push(0);
        self
    }

    /// `to` = the address of the first value of an array map.
    pub fn load_map_value(&mut self, to: Reg, fd: i32) -> &mut Self {
        self.emit(0x18, to as u8, PSEUDO_MAP_VALUE, 0, fd);
        self.code.push(0);
        self
    }

    /// Calls a function of the kernel by its number in the kernel's type information.
    pub fn call_kernel(&mut self, function: u32) -> &mut Self {
        self.emit(CALL, 0, PSEUDO_KERNEL_FUNCTION, 0, function.cast_signed())
    }

    /// Calls a helper by number.
    pub fn call(&mut self, helper: i32) -> &mut Self {
        self.emit(CALL, 0, 0, 0, helper)
    }

    /// Returns `r0`.
    pub fn exit(&mut self) -> &mut Self {
        self.emit(EXIT, 0, 0, 0, 0)
    }

    /// Goes to a label.
    pub fn jump(&mut self, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_IMM, 0, 0, 0, 0)
    }

    /// Goes to a label if `left` compares so with a constant.
    pub fn jump_if(
        &mut self,
        left: Reg,
        condition: If,
        right: i32,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_IMM | condition as u8, left as u8, 0, 0, right)
    }

    /// Goes to a label if the lower 32 bits of `left` compare so with a constant.
    pub fn jump_if_word(
        &mut self,
        left: Reg,
        condition: If,
        right: i32,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_WORD_IMM | condition as u8, left as u8, 0, 0, right)
    }

    /// Goes to a label if `left` compares so with a register.
    pub fn jump_if_reg(
        &mut self,
        left: Reg,
        condition: If,
        right: Reg,
        label: &'static str,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP_REG | condition as u8, left as u8, right as u8, 0, 0)
    }

    /// Names the next instruction.
    pub fn label(&mut self, label: &'static str) -> &mut Self {
        self.labels.insert(label, self.code.len());
        self
    }

    /// The instructions, or the label that is missing or too far for a jump.
    ///
    /// # Errors
    /// The label's name.
    pub fn finish(&mut self) -> Result<Vec<u64>, &'static str> {
        for (at, label) in &self.jumps {
            let distance = self.labels.get(label).and_then(|to| to.checked_sub(at + 1));
            let distance = distance
                .and_then(|distance| u16::try_from(distance).ok())
                .filter(|distance| *distance < 0x8000);
            self.code[*at] |= u64::from(distance.ok_or(*label)?) << 16;
        }
        Ok(std::mem::take(&mut self.code))
    }

    fn emit(&mut self, opcode: u8, to: u8, from: u8, offset: i16, value: i32) -> &mut Self {
        let [o0, o1] = offset.to_le_bytes();
        let [v0, v1, v2, v3] = value.to_le_bytes();
        self.code.push(u64::from_le_bytes([opcode, from << 4 | to, o0, o1, v0, v1, v2, v3]));
        self
    }
}
