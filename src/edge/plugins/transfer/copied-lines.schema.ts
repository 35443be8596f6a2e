import { messageParam, messageRole } from '../../claude/messages.schema.ts';
import { history } from '../../conversations/history/history.schema.ts';
import { chosenBySchema } from '../../conversations/history/storage/chosen-by.schema.ts';
import { nonEmpty, position } from '../../conversations/history/storage/copied-lines.schema.ts';
import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** A hundred years in seconds: a longer time has no date. */
const retention = z.nullable(count.check(z.lte(3_155_760_000)));
const textOrNull = z.nullable(z.string());
const stored = { owner: nonEmpty, name: nonEmpty, hash: nonEmpty };

/** The members of a profile that every copy has. */
export const forkedProfile = z.strictObject({
  account: z.optional(nonEmpty),
  title: textOrNull,
  metadata: z.nullable(z.looseObject({})),
  model: textOrNull,
  maxTokens: z.nullable(count),
  prefix: z.nullable(z.looseObject({ ...stored, holder: z.string() })),
  agent: z.nullable(z.looseObject(stored)),
  retentionSeconds: retention,
  history,
  sentFrom: z.int(),
  leftOut: z.optional(z.array(z.string())),
  thinkingFrom: z.optional(position),
  betas: z.optional(z.array(z.string())),
  omittedTools: z.optional(z.strictObject({ version: nonEmpty, names: z.array(z.string()) })),
});

/** The members of a profile that a backup has, too. A fork begins anew. */
export const backedUpProfile = z.strictObject({
  createdAt: instant,
  cost: count,
  inputTokens: count,
  outputTokens: count,
  parent: z.optional(
    z.looseObject({ conversation: nonEmpty, toolUseId: nonEmpty, depth: count, retentionSeconds: retention }),
  ),
});

const profileLine = z.extend(forkedProfile, {
  ...backedUpProfile.shape,
  // What `keep` of plugins gives.
  asksAgain: z.optional(z.literal(true)),
  choices: z.optional(
    z.array(z.looseObject({ turn: position, hash: z.string(), model: nonEmpty, by: chosenBySchema })),
  ),
});

/** The columns of a turn that copies have. The others belong to the original only. */
export const turnLine = z.strictObject({
  seq: position,
  id: nonEmpty,
  requestId: nonEmpty,
  hash: z.string(),
  status: z.enum(['complete', 'interrupted', 'stopped', 'refused', 'empty']),
  route: z.string(),
  model: z.string(),
  beganAt: instant,
  endedAt: z.nullable(instant),
  outcome: z.nullable(z.looseObject({ usage: z.optional(z.looseObject({})) })),
  cost: count,
  tokens: z.nullable(count),
  frame: textOrNull,
  sentFrom: z.int(),
  follows: z.boolean(),
  events: count,
  run: z.nullable(position),
  notes: z.nullable(z.looseObject({})),
});

const messageLine = z.object({
  seq: position,
  turn: position,
  id: nonEmpty,
  role: messageRole,
  createdAt: instant,
  origin: z.nullable(z.enum(['edge', 'import'])),
  shown: z.optional(messageParam),
});

/** The lines that every conversation has. `copiedRows` has the others. */
export const CONVERSATION_LINES = {
  profile: { parts: [profileLine] },
  turn: { parts: [turnLine], numberedBy: 'seq' },
  message: { parts: [messageLine, messageParam], numberedBy: 'seq' },
  end: { parts: [z.literal(null)] },
} as const;
