//! Which rule was broken.

/// Why a block, a proof or an announcement is refused: the first rule broken, in the reference's order.
/// [`Fault::reference`] has the name that the reference node gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Fault {
    /// A block or proof that ends too early, or a number in more bytes than it needs.
    #[error("block: ends early, or has a number that is not written in its shortest form")]
    Malformed,
    /// Bytes behind the last transaction.
    #[error("block: has bytes behind its last transaction")]
    Dangling,
    /// More bytes than a block can have.
    #[error("block: has more bytes than a block can have")]
    TooBig,
    /// The record with the announcements is too short to have a tree proof.
    #[error("proof: the record of 4 announcements has no tree proof")]
    ProofRunt,
    /// The record with the announcements is longer than 131 072 bytes.
    #[error("proof: the record of announcements and tree proof is longer than 131072 bytes")]
    ProofOversize,
    /// The proof ends without announcements.
    #[error("proof: ends without announcements")]
    ProofMissing,
    /// Signatures or content proofs before the announcements that they are for.
    #[error("proof: signatures or content proofs stand before the announcements")]
    ProofOrder,
    /// Too few or too many bytes of signatures.
    #[error("proof: the record of signatures is not 64 bytes for each signed announcement")]
    SignaturesLength,
    /// The version is not all of its record.
    #[error("proof: the version does not fill its record")]
    VersionLength,
    /// This proof version is not allowed at this height.
    #[error("proof: its version is not allowed at this height")]
    ProofVersion,
    /// An announcement's parent is above the block.
    #[error("announcement: its parent is above the block")]
    ParentAboveBlock,
    /// Unknown records, records twice, or empty ones.
    #[error("proof: has records that its content does not need")]
    NonStandard,
    /// A signing key without a signature.
    #[error("announcement: has a signing key and no signature")]
    SignatureMissing,
    /// A signature that is wrong.
    #[error("announcement: its signature is wrong")]
    SignatureInvalid,
    /// Content without a proof of it.
    #[error("announcement: has content and the block no proof of it")]
    ContentProofMissing,
    /// A content proof that leads elsewhere.
    #[error("announcement: the proof of its content does not lead to its content hash")]
    ContentProofMismatch,
    /// Too few or too many bytes of content proofs.
    #[error("proof: the record of content proofs is too short or too long")]
    ContentProofLength,
    /// Content proofs in a version that has none.
    #[error("proof: has content proofs in a version without them")]
    ContentProofInVersion2,
    /// The coinbase has no commitment.
    #[error("coinbase: has no PacketCrypt commitment")]
    CommitmentMissing,
    /// The commitment's least target makes no sense.
    #[error("coinbase: the commitment's least target makes no sense")]
    CommitmentInsane,
    /// The work hash does not meet the effective target.
    #[error("block: its work hash does not meet the effective target")]
    InsufficientWork,
    /// An announcement weaker than the commitment says, or too young or too old to be used.
    #[error("announcement: weaker than the commitment says, or too young or old")]
    AnnouncementWeak,
    /// The tree proof is malformed or contradicts itself.
    #[error("proof: the tree cannot be built from the tree proof: {0}")]
    Tree(TreeFault),
    /// The tree is another one than the commitment's.
    #[error("proof: the tree is not the one that the coinbase commits to")]
    TreeMismatch,
    /// This announcement version is not allowed at its parent's height.
    #[error("announcement: its version is not allowed at its parent's height")]
    AnnVersionNotAllowed,
    /// An announcement of version 0 in a proof of version 2.
    #[error("announcement: version 0 in a proof of version 2")]
    AnnVersionMismatch,
    /// The mantissa of its target is zero. The reference stops the process here.
    #[error("announcement: the mantissa of its target is zero")]
    AnnTargetZero,
    /// The soft nonce is above its limit.
    #[error("announcement: its soft nonce is above the limit of its target")]
    SoftNonceHigh,
    /// The program of the second seed is too long.
    #[error("announcement: its program is too long")]
    BadProgram,
    /// The program of the second seed runs too long.
    #[error("announcement: its program runs too long")]
    BadProgramExec,
    /// The program of the first seed is too long.
    #[error("announcement: its table's program is too long")]
    BadProgram0,
    /// The program of the first seed runs too long.
    #[error("announcement: its table's program runs too long")]
    BadProgram0Exec,
    /// A program of version 0 is too long, or runs too long.
    #[error("announcement: a program of version 0 is too long, or runs too long")]
    AnnInvalid,
    /// The item that it ends with is another.
    #[error("announcement: the item that it ends with is another one")]
    AnnItem4,
    /// The item is not in its table.
    #[error("announcement: the item is not in its table")]
    AnnMerkle,
    /// The work hash does not meet the announcement's target.
    #[error("announcement: its work hash does not meet its target")]
    AnnInsufficientWork,
    /// A block has no transactions, or the first is no coinbase, or another is.
    #[error("block: the first transaction, and no other, must be a coinbase")]
    Coinbase,
    /// The transactions are not those that the header commits to.
    #[error("block: the transactions are not those of the header's Merkle root")]
    MerkleRoot,
    /// A transaction is there twice.
    #[error("block: has a transaction twice")]
    DuplicateTransaction,
    /// The witnesses are not those that the coinbase commits to.
    #[error("block: the witnesses are not those that the coinbase commits to")]
    WitnessCommitment,
    /// The coinbase does not begin with the height.
    #[error("coinbase: does not begin with the block's height")]
    CoinbaseHeight,
    /// An amount or a sum beyond what there can be.
    #[error("transaction: an amount or a sum of amounts is beyond what there can be")]
    Amount,
    /// An input that spends what is not there, or is spent already.
    #[error("transaction: spends an output that is not there")]
    InputMissing,
    /// The coinbase does not pay the steward its share.
    #[error("coinbase: does not pay the network steward its share")]
    StewardUnpaid,
    /// The header does not follow the one before.
    #[error("header: does not follow the one before it")]
    Parent,
    /// The target is not the required one.
    #[error("header: its target is not the required one")]
    Bits,
    /// The time is not after the median of the last 111 blocks.
    #[error("header: its time is not after the median of the last 111 blocks")]
    TimeTooOld,
    /// The time is too far in the future.
    #[error("header: its time is more than 720 s in the future")]
    TimeTooNew,
    /// The version is below 4.
    #[error("header: its version is below 4")]
    HeaderVersion,
    /// The id is not the checkpoint's.
    #[error("header: its id is not that of the checkpoint at its height")]
    Checkpoint,
}

/// What is wrong with a tree proof. The reference's words depend on the order in which it looks; these are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TreeFault {
    /// It ends before all is read.
    #[error("it ends early")]
    Runt,
    /// Something is left.
    #[error("bytes are left over")]
    Extra,
    /// Two facts about a node differ.
    #[error("it contradicts itself")]
    Contradiction,
    /// The root cannot be known; also where the last of an even number of announcements is proven, which the reference
    /// refuses although it could be solved.
    #[error("the root stays unknown")]
    Incomplete,
    /// The tree does not span all numbers.
    #[error("the root does not span everything")]
    RootRange,
    /// No set is that small or that large.
    #[error("no set has that number of announcements")]
    Count,
}

impl Fault {
    /// The name in the reference node's messages, as far as it does not change from one case to the next.
    #[must_use]
    pub fn reference(self) -> &'static str {
        match self {
            Self::Malformed => "wire.MessageError: ReadVarInt: non-canonical varint",
            Self::Dangling => "dangling bytes",
            Self::TooBig => "ErrBlockTooBig",
            Self::ProofRunt => "readPacketCryptProof runt pcp",
            Self::ProofOversize => "readPacketCryptProof oversize pcp",
            Self::ProofMissing => {
                "wire.MessageError: readPacketCryptProof: Missing PacketCrypt proof"
            }
            Self::ProofOrder => {
                "wire.MessageError: readPacketCryptProof: Signatures came before pcp type"
            }
            Self::SignaturesLength => {
                "wire.MessageError: readPacketCryptProof: Dangling bytes after announcement signatures"
            }
            Self::VersionLength => {
                "wire.MessageError: readPacketCryptProof: Dangling bytes after version field"
            }
            Self::ProofVersion => "Unallowed PacketCrypt proof version",
            Self::ParentAboveBlock => "ann parent block height exceeds block height",
            Self::NonStandard => "Block contains non-standard / mutated PacketCryptProof",
            Self::SignatureMissing => "missing announcement signature for key",
            Self::SignatureInvalid => "invalid announcement signature",
            Self::ContentProofMissing => "missing announcement content proof",
            Self::ContentProofMismatch => "announcement content proof hash mismatch",
            Self::ContentProofLength => "SplitContentProof:",
            Self::ContentProofInVersion2 => "For PcP type [2] content proof must be nil",
            Self::CommitmentMissing => "missing packetcrypt commitment",
            Self::CommitmentInsane => "Validate_checkBlock_BAD_COINBASE",
            Self::InsufficientWork => "Validate_checkBlock_INSUF_POW",
            Self::AnnouncementWeak => "Validate_checkBlock_ANN_INSUF_POW",
            Self::Tree(_) => "Validate_checkBlock_PCP_INVAL",
            Self::TreeMismatch => "Validate_checkBlock_PCP_MISMATCH",
            Self::AnnVersionNotAllowed => "Validate_checkAnn_ANN_VERSION_NOT_ALLOWED",
            Self::AnnVersionMismatch => "Validate_checkAnn_ANN_VERSION_MISMATCH",
            Self::AnnTargetZero => "PANIC: log2floor called on 0",
            Self::SoftNonceHigh => "Validate_checkAnn_SOFT_NONCE_HIGH",
            Self::BadProgram => "Validate_checkAnn_BAD_PROGRAM",
            Self::BadProgramExec => "Validate_checkAnn_BAD_PROGRAM_EXEC",
            Self::BadProgram0 => "Validate_checkAnn_BAD_PROGRAM0",
            Self::BadProgram0Exec => "Validate_checkAnn_BAD_PROGRAM0_EXEC",
            Self::AnnInvalid => "Validate_checkAnn_INVAL",
            Self::AnnItem4 => "Validate_checkAnn_INVAL_ITEM4",
            Self::AnnMerkle => "Validate_checkAnn_INVAL_MERKLE",
            Self::AnnInsufficientWork => "Validate_checkAnn_INSUF_POW",
            Self::Coinbase => "ErrFirstTxNotCoinbase",
            Self::MerkleRoot => "ErrBadMerkleRoot",
            Self::DuplicateTransaction => "ErrDuplicateTx",
            Self::WitnessCommitment => "ErrWitnessCommitmentMismatch",
            Self::CoinbaseHeight => "ErrBadCoinbaseHeight",
            Self::Amount => "ErrBadTxOutValue",
            Self::InputMissing => "ErrMissingTxOut",
            Self::StewardUnpaid => "ErrBadCoinbaseNetworkSteward",
            Self::Parent => "ErrMissingParent",
            Self::Bits => "ErrUnexpectedDifficulty",
            Self::TimeTooOld => "ErrTimeTooOld",
            Self::TimeTooNew => "ErrTimeTooNew",
            Self::HeaderVersion => "ErrBlockVersionTooOld",
            Self::Checkpoint => "ErrBadCheckpoint",
        }
    }
}
