/** Conversations of many turns, without having each turn answered. */

const MODEL = 'claude-haiku-4-5';
const CREATED_AT = Date.parse('2026-11-20T12:00:00Z');
const PROFILE_ROW = {
  createdAt: CREATED_AT,
  title: null,
  metadata: null,
  model: MODEL,
  maxTokens: 10,
  prefix: null,
  agent: null,
  retentionSeconds: null,
  history: null,
  sentFrom: 0,
  cost: 0,
  inputTokens: 0,
  outputTokens: 0,
};
const TURN_ROW = {
  hash: '',
  status: 'complete',
  route: 'messages',
  model: MODEL,
  beganAt: CREATED_AT,
  endedAt: CREATED_AT + 1,
  outcome: null,
  cost: 0,
  tokens: null,
  frame: null,
  sentFrom: 0,
  follows: false,
  events: 1,
  run: null,
  notes: null,
};
const createMessageRow = (turn: number, seq: number, role: string) => [
  'message',
  { seq, turn, id: `msg_${seq}`, role, createdAt: CREATED_AT, origin: null },
  { role, content: 'word' },
];

/** @returns the backup of a conversation of so many turns */
export const createLongBackup = (turns: number): string =>
  [
    ['profile', PROFILE_ROW],
    ...Array.from({ length: turns }, (_, nth) => [
      ['turn', { ...TURN_ROW, seq: nth + 1, id: `turn_${nth + 1}`, requestId: `req_${nth + 1}` }],
      createMessageRow(nth + 1, nth * 2 + 1, 'user'),
      createMessageRow(nth + 1, nth * 2 + 2, 'assistant'),
    ]).flat(),
    ['end', null],
  ]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join('');
