export const MODEL = 'claude-haiku-4-5-20251001';

/** An answer of the upstream that costs 0.00052 dollars. */
export const SMALL_MESSAGE = {
  id: 'msg_01',
  type: 'message',
  role: 'assistant',
  model: MODEL,
  content: [{ type: 'text', text: 'Hi' }],
  stop_reason: 'end_turn',
  usage: { input_tokens: 20, output_tokens: 100 },
};
