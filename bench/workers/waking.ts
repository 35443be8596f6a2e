import { DurableObject } from 'cloudflare:workers';

interface Env {
  ANTHROPIC_BASE_URL: string;
  WAKING: DurableObjectNamespace<Waking>;
}

/** How many objects have been made since the isolate started. */
let made = 0;

/** The least that an object can be which wakes to keep something: it writes one row. */
export class Waking extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    made += 1;
  }

  write(text: string): void {
    const { sql } = this.ctx.storage;
    sql.exec('create table if not exists rows (n integer primary key, text text not null) strict');
    sql.exec('insert into rows (text) values (?)', text);
  }
}

/** The bare Worker, with an object that is named by the caller and writes a row first. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    if (pathname === '/made') return Response.json(made);
    const name = request.headers.get('x-object') ?? '';
    await env.WAKING.get(env.WAKING.idFromName(name)).write(name);
    return await fetch(env.ANTHROPIC_BASE_URL + pathname + search, request);
  },
};
