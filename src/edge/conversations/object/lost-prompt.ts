/** Counts the prompt of a turn that a crash interrupted before anything of its answer came. Without a count it is booked by its bytes. */

import { ApiError } from '../../kit/http/errors.ts';
import { countLostPrompt } from '../../money/admission/bounds.ts';
import { addNeededBetasToHeaders } from '../history/needed-betas.ts';
import { type NextRequestPlan, planNextRequest } from '../history/next-request.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import { listMessageNumbersOfTurn } from '../history/storage/turn-queries.ts';
import type { ConversationContext } from './hooks.ts';
import { readRetainedAgent } from './initial-context.ts';
import { applyRetainedPrefix } from './retained-prefix.ts';

/** A member of a frame, at the beginning of a line: no line of a JSON text begins so. */
const NEXT_MEMBER = /\n(?=[a-z][a-z0-9_-]*:)/;

/**
 * Plans the request of a turn once more, as long as its messages are stored.
 *
 * @returns what counts its prompt; undefined if the request is not known any more
 */
export function createLostPromptCounter(
  conversation: ConversationContext,
  row: TurnRow,
): (() => Promise<number | undefined>) | undefined {
  const replanned = replanRequestOfTurn(conversation, row);
  if (!replanned) return undefined;
  const { plan, betas } = replanned;
  const { transcript } = conversation;
  const { account = '', prefix } = transcript.storedProfile ?? {};
  return async () => {
    const body = prefix ? (await applyRetainedPrefix(conversation, account, prefix, plan.body)).body : plan.body;
    const headers = addNeededBetasToHeaders(
      betas === undefined ? {} : { 'anthropic-beta': betas },
      transcript.storedProfile?.betas,
    );
    const routing = { streams: true, requiredUpstream: row.grant?.upstream };
    const [upstream, settings] = [conversation.getUpstream(), conversation.settings()];
    return await countLostPrompt({ headers, routing, upstream, settings, streams: true }, { body, model: row.model });
  };
}

/** @returns the request of a turn, planned again; undefined if it is not known, or cannot be planned any more */
function replanRequestOfTurn(
  conversation: ConversationContext,
  row: TurnRow,
): { plan: NextRequestPlan; betas: string | undefined } | undefined {
  const { transcript, settings, now } = conversation;
  const { storedProfile: profile, frozenTexts: frozen } = transcript;
  const members = row.frame === null ? undefined : parseFrameMembers(row.frame, row.model);
  const question = listMessageNumbersOfTurn(transcript, row.seq).flatMap((seq) =>
    Array.from(transcript.messages.readMessages({ from: seq, to: seq, pending: true }), ({ text }) => text),
  );
  if (!members || !profile || (question.length === 0 && !row.follows)) return undefined;
  const betas = members.get('anthropic-beta');
  members.delete('anthropic-beta');
  // A conversation does not exist before its first turn has ended, so the plan would not inherit its system prompt and tools.
  // Add the stored ones to the request.
  for (const name of ['system', 'tools'] as const) {
    const text = profile.exists ? undefined : frozen[name];
    if (text !== undefined) members.set(name, text);
  }
  members.set('model', JSON.stringify(row.model));
  members.set('messages', `[${question.join(',')}]`);
  const body = `{${[...members].map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
  const agent = readRetainedAgent(conversation);
  const { model, maxTokens } = profile;
  try {
    const plan = planNextRequest(body, transcript, settings(), {
      agent,
      betas,
      counts: true,
      isAgain: true,
      now: now(),
      initialDefaults: { model: model ?? undefined, maxTokens: maxTokens ?? undefined, runs: frozen.runs },
    });
    return { plan, betas };
  } catch (thrown) {
    // The request cannot be planned any more, for example because it names a deleted resource. Return no prompt, so that it is
    // not counted.
    if (thrown instanceof ApiError) return undefined;
    throw thrown;
  }
}

/** @returns the members that a frame contains, as JSON texts, and the betas */
function parseFrameMembers(frame: string, model: string): Map<string, string> {
  const lines = frame.split('\n');
  // All lines except the model's name are members of the request, so remove that line before parsing.
  const at = lines.indexOf(model);
  const rest = lines.filter((_, index) => index !== at).join('\n');
  const members = rest === '' ? [] : rest.split(NEXT_MEMBER);
  return new Map(
    members.flatMap((member) => {
      const end = member.indexOf(':');
      const name = member.slice(0, end);
      return name === 'worker-tools' ? [] : [[name, member.slice(end + 1)] as const];
    }),
  );
}
