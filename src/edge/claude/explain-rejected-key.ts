/** Explains to the operator why an upstream rejects the deployment's key. */
import type { ApiError } from '../kit/http/errors.ts';
import { getErrorCause } from './upstream-error.ts';

const UNPAID = 'rejects requests, because a bill is not paid. Pay it, or set the key of another organization in';
const NO_CREDIT =
  'rejects requests, because the organization’s prepaid credit is used up. Buy credit on the Console’s billing page, or set the key of another organization in';
const NO_CRYPTO = 'cannot use the encryption key of the workspace. Fix it, or set the key of another workspace in';
const SPENT = 'rejects requests, because a spend limit is reached. Raise it, or set the key of another organization in';
/** The remedy by the cause of a rejection, or by its status. */
const REMEDIES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    401: 'does not know the key. Set a valid one in',
    402: UNPAID,
    403: 'knows the key, but does not allow its use. Set another one in',
    organization_on_hold: 'has put the organization on hold. Appeal, or set the key of another organization in',
    organization_disabled: 'has disabled the organization. Ask why, or set the key of another organization in',
    claude_code_key_creator_not_member:
      'rejects the key, because its creator has left the organization. Set another one in',
    cmek_key_disabled: NO_CRYPTO,
    cmek_key_network_blocked: NO_CRYPTO,
    credit_used_up: NO_CREDIT,
    own_spend_limit_reached: SPENT,
    enforced_spend_limit_reached: SPENT,
    contract_spend_limit_reached: SPENT,
  }),
);
const MAX_SHOWN_CHARACTERS = 300;

/** @returns whether a cause makes the upstream reject each request of this deployment, until the operator fixes it. */
export function doesCauseBlockDeployment(cause: string): boolean {
  return REMEDIES.has(cause);
}

interface KeyRejection {
  /** The name of the upstream in the sentence. */
  name: string;
  /** The name of the setting that has the key. */
  setting: string;
  status: number;
  /** The upstream's own words, without any secret. */
  words: string;
  /** The code of its error, if it has one. */
  code?: string | undefined;
}

/** @returns what the operator must do, and the upstream's own words; undefined for a status that is not about the key. */
function explainRejectedKey(refusal: KeyRejection): string | undefined {
  const remedy = findRemedy(refusal);
  return remedy && `${remedy} It says (${refusal.status}): ${refusal.words.slice(0, MAX_SHOWN_CHARACTERS)}`;
}

/** @returns only what the operator must do, which anybody may read. */
export function findRemedy({ name, setting, status, words, code = '' }: KeyRejection): string | undefined {
  const meaning = REMEDIES.get(getErrorCause({ code, message: words })) ?? REMEDIES.get(String(status));
  return meaning && `${name} ${meaning} ${setting}.`;
}

/**
 * Explains in development what is otherwise only logged: there the operator is the only caller.
 *
 * @returns the same for the only upstream, from its error: its status, type, code and message
 */
export function explainErrorInDevelopment(error: ApiError): string | undefined {
  return explainRejectedKey({ ...parseKeyRejectionFromLog(error.upstreamSaid ?? ''), ...ONLY_UPSTREAM });
}

/** The only upstream, as it is called here. */
export const ONLY_UPSTREAM = { name: 'The Claude API', setting: 'ANTHROPIC_API_KEY' };

/** @returns the parts of a logged rejection. */
export function parseKeyRejectionFromLog(logged: string): Pick<KeyRejection, 'status' | 'words' | 'code'> {
  const [, status, code, words = ''] = /^(\d+) (?:\w*(?: (\w+))?: )?(.*)$/s.exec(logged) ?? [];
  return { status: Number(status), words, code };
}
