/** The least that a relay can be: every other Worker's figures stand beside this one's in the same run. */
export default {
  fetch(request: Request, env: { ANTHROPIC_BASE_URL: string }): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    return fetch(env.ANTHROPIC_BASE_URL + pathname + search, request);
  },
};
