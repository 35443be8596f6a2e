import { hmac } from '../../delivery/hmac.ts';

/** Verifies GitHub's signatures, which cover only the body: neither the delivery's id nor a time. */
export const verifyGithub = hmac({ header: 'x-hub-signature-256', prefix: 'sha256=' });
