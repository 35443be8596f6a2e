/** Decides whether the caller can correct what the upstream has refused, or only the operator. */
import { parseObject } from '../json/object.ts';

/**
 * Words of a 403 that is about this deployment: its key, who may use it, or an id of the operator. The API has one error type
 * for both kinds, so only the words distinguish them. If it is not clear, the caller gets no details.
 */
const OF_THE_DEPLOYMENT =
  /\b(key|oauth|bearer|credentials?|access token|authenticat\w*|authori[sz]\w*|billing|credits?|subscription|disabled|suspended|workspace|ip address|countr(y|ies)|region|iam|arn)\b|sk-ant-|\b[0-9a-f]{8}-[0-9a-f]{4}-/i;

/**
 * @param body the body of an upstream's 403
 * @returns whether the caller can correct it, because it is about the request: a model or a feature that may not be used
 */
export function isAboutRequest(body: Uint8Array | string): boolean {
  const { type, error } = (parseObject(body) ?? {}) as {
    type?: unknown;
    error?: { type?: unknown; message?: unknown };
  };
  if (type !== 'error' || error?.type !== 'permission_error' || typeof error.message !== 'string') return false;
  return error.message.trim() !== '' && !OF_THE_DEPLOYMENT.test(error.message);
}
