import { modelByLabel } from '../../classify/model-by-label.schema.ts';
import { messageParam } from '../../claude/messages.schema.ts';
import { history } from '../../conversations/history/history.schema.ts';
import { chosenBySchema } from '../../conversations/history/storage/chosen-by.schema.ts';
import { SUMMARY_PREFACE } from '../../conversations/history/storage/summary-message.ts';
import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

const position = z.int().check(z.gte(1));
const nonEmpty = z.string().check(z.minLength(1), z.maxLength(1_000));
/** A hundred years in seconds: a longer time has no date. */
const retention = z.nullable(count.check(z.lte(3_155_760_000)));
const textOrNull = z.nullable(z.string());
const stored = { owner: nonEmpty, name: nonEmpty, hash: nonEmpty };
const objects = z.array(z.looseObject({}));

const profileLine = z.strictObject({
  account: z.optional(nonEmpty),
  createdAt: instant,
  title: textOrNull,
  metadata: z.nullable(z.looseObject({})),
  model: textOrNull,
  maxTokens: z.nullable(count),
  prefix: z.nullable(z.looseObject({ ...stored, holder: z.string() })),
  agent: z.nullable(z.looseObject(stored)),
  retentionSeconds: retention,
  history,
  sentFrom: z.int(),
  cost: count,
  inputTokens: count,
  outputTokens: count,
  asksAgain: z.optional(z.literal(true)),
  leftOut: z.optional(z.array(z.string())),
  thinkingFrom: z.optional(position),
  betas: z.optional(z.array(z.string())),
  omittedTools: z.optional(z.array(z.string())),
  choices: z.optional(
    z.array(z.looseObject({ turn: position, hash: z.string(), model: nonEmpty, by: chosenBySchema })),
  ),
  parent: z.optional(
    z.looseObject({ conversation: nonEmpty, toolUseId: nonEmpty, depth: count, retentionSeconds: retention }),
  ),
});

/** The row of a turn: what a copy has of it. */
const turnLine = z.object({
  seq: position,
  id: nonEmpty,
  requestId: nonEmpty,
  key: z.literal(null),
  hash: z.string(),
  status: z.enum(['complete', 'interrupted', 'stopped', 'refused', 'empty']),
  route: z.string(),
  model: z.string(),
  beganAt: instant,
  endedAt: z.nullable(instant),
  grant: z.literal(null),
  outcome: z.nullable(z.looseObject({ usage: z.optional(z.looseObject({})) })),
  settled: z.literal(true),
  cost: count,
  tokens: z.nullable(count),
  frame: textOrNull,
  sentFrom: z.int(),
  follows: z.boolean(),
  events: count,
  run: z.nullable(position),
  notes: z.nullable(z.looseObject({})),
  // Always null, because the deployment on which the turn ended has already reported its end.
  background: z.optional(z.literal(null)),
});

const callLine = z.object({
  turn: position,
  n: count,
  id: nonEmpty,
  name: nonEmpty,
  beganAt: z.nullable(instant),
  endedAt: z.nullable(instant),
  isError: z.boolean(),
  bytes: count,
  event: z.literal(null),
  tries: count,
});

const messageLine = z.object({
  seq: position,
  turn: position,
  id: nonEmpty,
  role: z.enum(['user', 'assistant', 'system']),
  createdAt: instant,
  origin: z.nullable(z.enum(['edge', 'import'])),
  shown: z.optional(messageParam),
});

const summaryLine = z.object({
  id: position,
  until: position,
  turn: count,
  model: z.string(),
  tokens: count,
  cost: count,
  beganAt: instant,
});

/** A summary is sent as the first message, in words of the user. */
const sentSummary = z.strictObject({
  role: z.literal('user'),
  content: z.string().check(z.refine((text) => text.startsWith(SUMMARY_PREFACE), 'what a summary begins with')),
});

const agentLine = z.looseObject({
  model: z.union([z.string(), modelByLabel]),
  max_tokens: count,
  system: z.optional(z.union([z.string(), objects])),
  tools: objects,
  limits: z.looseObject({}),
  approvers: z.enum(['owner', 'admin']),
});

/** The kinds of lines in a backup, each with the schema of its content. */
export const BACKUP_LINES = {
  profile: [profileLine],
  system: [z.union([z.string(), objects])],
  tools: [objects],
  runs: [objects],
  agent: [agentLine],
  summary: [summaryLine, sentSummary],
  turn: [turnLine],
  call: [callLine, z.looseObject({ type: z.literal('tool_result'), tool_use_id: z.string() })],
  message: [messageLine, messageParam],
  end: [z.literal(null)],
} as const satisfies Record<string, readonly z.ZodMiniType[]>;
