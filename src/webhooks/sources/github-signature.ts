import { hmac } from '../../delivery/hmac.ts';

/** GitHub signs the body alone: neither the delivery's id nor a time. */
export const verifyGithub = hmac({ header: 'x-hub-signature-256', prefix: 'sha256=' });
