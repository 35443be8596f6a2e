/**
 * What Claude answers to a text that is to be labelled, from this very process: the upstream's cost is not the edge's. It is the
 * first label that may be answered.
 */
export async function labelled(...call: Parameters<typeof fetch>): Promise<Response> {
  const [, label] = /"enum":\["(\w+)"/.exec(await new Request(...call).text()) ?? [];
  return Response.json({
    id: 'msg_01Bench',
    type: 'message',
    role: 'assistant',
    model: 'claude-haiku-5-5',
    content: [{ type: 'text', text: JSON.stringify({ label }) }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: { input_tokens: 200, output_tokens: 8, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  });
}
