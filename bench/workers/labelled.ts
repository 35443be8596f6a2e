/** What Claude answers to a text that is to be labelled, from this very process: the upstream's cost is not the edge's. */
export async function labelled(): Promise<Response> {
  return Response.json({
    id: 'msg_01Bench',
    type: 'message',
    role: 'assistant',
    model: 'claude-haiku-5-5',
    content: [{ type: 'text', text: '{"label":"bug"}' }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: { input_tokens: 200, output_tokens: 8, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  });
}
