/** Whether a refusal of the upstream is the caller's to mend, or the operator's. */
import { parseObject } from '../json/object.ts';

/**
 * What a 403 speaks of if it is about this deployment: its key, who may use it, or an id of the operator's. The API has one
 * type for both, so only the words tell; in doubt the caller is told nothing.
 */
const OF_THE_DEPLOYMENT =
  /\b(key|oauth|bearer|credentials?|access token|authenticat\w*|authori[sz]\w*|billing|credits?|subscription|disabled|suspended|workspace|ip address|countr(y|ies)|region|iam|arn)\b|sk-ant-|\b[0-9a-f]{8}-[0-9a-f]{4}-/i;

/**
 * @param body of an upstream's 403
 * @returns whether it is about the request, such as a model or a feature that it may not use: then its caller can change it
 */
export function isAboutRequest(body: Uint8Array): boolean {
  const { type, error } = (parseObject(body) ?? {}) as {
    type?: unknown;
    error?: { type?: unknown; message?: unknown };
  };
  if (type !== 'error' || error?.type !== 'permission_error' || typeof error.message !== 'string') return false;
  return error.message.trim() !== '' && !OF_THE_DEPLOYMENT.test(error.message);
}
