/* Bursts of ChaCha20-Poly1305 through Intel's library, whose interface is macros over a table of functions. */
#include <intel-ipsec-mb.h>

/* A manager with the best code for this processor; never given back. */
IMB_MGR *rivals_ipsec_mb_new(void)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);
	if (mgr != NULL)
		init_mb_mgr_auto(mgr, NULL);
	return mgr;
}

/* Seals or opens `count` texts in place, 12 bytes of nonce and 16 of tag each. Returns how many were done. */
uint32_t rivals_ipsec_mb_burst(IMB_MGR *mgr, uint32_t count, int seal, const uint8_t *const *keys,
			       const uint8_t *nonces, uint8_t *const *texts, const uint64_t *lens, uint8_t *const *tags)
{
	IMB_JOB *jobs[IMB_MAX_BURST_SIZE];

	if (count > IMB_MAX_BURST_SIZE || IMB_GET_NEXT_BURST(mgr, count, jobs) != count)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		IMB_JOB *job = jobs[i];

		job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
		job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
		job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
		job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
		job->enc_keys = keys[i];
		job->dec_keys = keys[i];
		job->key_len_in_bytes = 32;
		job->src = texts[i];
		job->dst = texts[i];
		job->cipher_start_src_offset_in_bytes = 0;
		job->msg_len_to_cipher_in_bytes = lens[i];
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = lens[i];
		job->iv = nonces + 12 * i;
		job->iv_len_in_bytes = 12;
		job->auth_tag_output = tags[i];
		job->auth_tag_output_len_in_bytes = 16;
		job->u.CHACHA20_POLY1305.aad = NULL;
		job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	}
	uint32_t done = IMB_SUBMIT_BURST(mgr, count, jobs);

	while (done < count) {
		uint32_t flushed = IMB_FLUSH_BURST(mgr, count - done, jobs);

		if (flushed == 0)
			break;
		done += flushed;
	}
	return done;
}
