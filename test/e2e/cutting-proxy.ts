import { connect, createServer, type Socket } from 'node:net';

/** A proxy on loopback that cuts each connection after so many bytes of its answers. */
export interface CuttingProxy {
  url: string;
  /** Connections that were cut. */
  cuts: number;
  stop(): void;
}

/** @param bytes how many bytes of the next connection come through */
export async function startCuttingProxy(target: string, bytes: () => number): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  const server = createServer((down) => {
    let left = bytes();
    const up = connect(Number(port), hostname);
    const end = () => {
      down.destroySoon();
      up.destroy();
    };
    for (const socket of [down, up]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', () => {
        open.delete(socket);
        end();
      });
    }
    down.pipe(up);
    up.on('data', (piece: Buffer) => {
      if (left > 0) down.write(piece.subarray(0, left));
      left -= piece.length;
      if (left > 0) return;
      proxy.cuts += 1;
      // A reset takes from the reader what has arrived and was not read yet: one in two is a mere end, as of a dead host.
      if (proxy.cuts % 2 === 0) down.resetAndDestroy();
      else down.end();
      up.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const proxy: CuttingProxy = {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    cuts: 0,
    stop: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
  return proxy;
}
