/** Explains to the operator why an upstream refuses the deployment's key. */
import { decoder } from '../http/bytes.ts';
import { memberOf, parseObject, stringOrUndefined } from '../json/object.ts';

const MEANINGS: Readonly<Record<number, string>> = {
  401: 'does not know the key. Put a valid one in',
  402: 'does not answer until its bill is paid. Pay it, or put the key of another organization in',
  403: 'knows the key, and does not allow it to be used. Put another one in',
};
const MOST_SHOWN = 300;

interface KeyRefusal {
  /** The name of the upstream in the sentence. */
  name: string;
  /** The name of the setting that has the key. */
  setting: string;
  status: number;
  /** The upstream's own words, without any secret. */
  said: string;
}

/** @returns what the operator must do, and the upstream's own words; undefined for a status that is not about the key. */
export function explainRefusedKey({ name, setting, status, said }: KeyRefusal): string | undefined {
  const meaning = MEANINGS[status];
  return meaning && `${name} ${meaning} ${setting}. It says (${status}): ${said.slice(0, MOST_SHOWN)}`;
}

/** @returns the same for the only upstream, from its answer. */
export function explainRefusal(status: number, body: Uint8Array): string | undefined {
  const said = stringOrUndefined(memberOf(memberOf(parseObject(body), 'error'), 'message')) ?? decoder.decode(body);
  return explainRefusedKey({ name: 'The Claude API', setting: 'ANTHROPIC_API_KEY', status, said });
}

/** @returns status, type and message of a refusal in one line, for the log. */
export function describeRefusal(status: number, body: Uint8Array): string {
  const error = memberOf(parseObject(body), 'error');
  const type = stringOrUndefined(memberOf(error, 'type'));
  const message = stringOrUndefined(memberOf(error, 'message')) ?? decoder.decode(body);
  return `${status} ${type === undefined ? '' : `${type}: `}${message}`.slice(0, MOST_SHOWN);
}
