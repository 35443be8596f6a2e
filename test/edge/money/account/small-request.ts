/** A small request and its answer: by the price list it costs 0.0000054 dollars, and holds less than 0.0001. */

export const MESSAGE = {
  type: 'message',
  model: 'claude-haiku-5-5',
  content: [],
  usage: { input_tokens: 9, output_tokens: 9 },
};

export const ASK = {
  model: 'claude-haiku-5-5',
  max_tokens: 10,
  stream: false,
  messages: [{ role: 'user', content: 'Hi' }],
};
