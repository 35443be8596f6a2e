/** Explains to the operator why an upstream refuses the deployment's key. */
import type { ApiError } from '../http/errors.ts';
import { causeOf } from './told.ts';

const UNPAID = 'does not answer until its bill is paid. Pay it, or put the key of another organization in';
const NO_ENCRYPTION =
  'cannot use the encryption key of the workspace. Enable it, or put the key of another workspace in';
const SPENT = 'takes nothing more, as a spend limit is reached. Raise it, or put the key of another organization in';
/** What to do by the cause of a refusal, and otherwise by its status. */
const MEANINGS: ReadonlyMap<string, string> = new Map([
  ['401', 'does not know the key. Put a valid one in'],
  ['402', UNPAID],
  ['403', 'knows the key, and does not allow it to be used. Put another one in'],
  ['credit_used_up', UNPAID],
  [
    'organization_on_hold',
    'has put the organization on hold. Appeal where the log says, or put the key of another organization in',
  ],
  [
    'organization_disabled',
    'has disabled the organization. Ask its support, or put the key of another organization in',
  ],
  [
    'claude_code_key_creator_not_member',
    'refuses the key, as its creator is no member of the organization any more. Put another one in',
  ],
  ['cmek_key_disabled', NO_ENCRYPTION],
  ['cmek_key_network_blocked', NO_ENCRYPTION],
  ['own_spend_limit_reached', SPENT],
  ['enforced_spend_limit_reached', SPENT],
  ['contract_spend_limit_reached', SPENT],
]);
const MOST_SHOWN = 300;

/** The only upstream, as it is called in what is explained. */
export const ONLY_UPSTREAM = { name: 'The Claude API', setting: 'ANTHROPIC_API_KEY' };

interface KeyRefusal {
  /** The name of the upstream in the sentence. */
  name: string;
  /** The name of the setting that has the key. */
  setting: string;
  status: number;
  /** The upstream's own words, without any secret. */
  said: string;
  /** The code of its error, if it has one. */
  code?: string | undefined;
}

/** @returns what the operator must do, and the upstream's own words; undefined for a status that is not about the key. */
export function explainRefusedKey(refusal: KeyRefusal): string | undefined {
  const remedy = remedyFor(refusal);
  return remedy && `${remedy} It says (${refusal.status}): ${refusal.said.slice(0, MOST_SHOWN)}`;
}

function remedyFor({ name, setting, status, said, code = '' }: KeyRefusal): string | undefined {
  const meaning = MEANINGS.get(causeOf({ code, message: said })) ?? MEANINGS.get(String(status));
  return meaning && `${name} ${meaning} ${setting}.`;
}

/** @returns what the operator must do, without the upstream's words: anybody may read it. @param logged what the log has of them */
export function remedyInPublic(logged: string, of: Pick<KeyRefusal, 'name' | 'setting'>): string | undefined {
  return remedyFor({ ...loggedParts(logged), ...of });
}

/**
 * Tells an operator who develops what only the log says otherwise: there only the operator can call.
 *
 * @returns the same for the only upstream, from what it has said: its status, type, code and words
 */
export function explainedTo(error: ApiError): string | undefined {
  return explainRefusedKey({ ...loggedParts(error.upstreamSaid ?? ''), ...ONLY_UPSTREAM });
}

/** @returns the parts of what the log says of a refusal. */
function loggedParts(logged: string): Pick<KeyRefusal, 'status' | 'said' | 'code'> {
  const [, status, code, said = ''] = /^(\d+) (?:\w*(?: (\w+))?: )?(.*)$/s.exec(logged) ?? [];
  return { status: Number(status), said, code };
}
