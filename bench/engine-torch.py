"""The network of engine-dcgan.ts in PyTorch, for comparison. Reads lines "batch steps", answers seconds per step.

    python3 bench/engine-torch.py THREADS
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

CLASSES, NOISE = 10, 90


class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(CLASSES, 1, bias=False)
        self.c1 = nn.Conv2d(2, 64, 4, 2, 1)
        self.c2 = nn.Conv2d(64, 128, 4, 2, 1)
        self.fc = nn.Linear(7 * 7 * 128, 1)

    def forward(self, x, onehot):
        plane = self.embed(onehot).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)
        h = F.leaky_relu(self.c1(torch.cat([x, plane], 1)), 0.2)
        h = F.leaky_relu(self.c2(h), 0.2)
        return self.fc(h.flatten(1))


class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(NOISE + CLASSES, 7 * 7 * 128)
        self.n1 = nn.BatchNorm2d(128)
        self.t1 = nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False)
        self.n2 = nn.BatchNorm2d(64)
        self.t2 = nn.ConvTranspose2d(64, 1, 4, 2, 1)

    def forward(self, z, onehot):
        h = self.fc(torch.cat([z, onehot], 1)).view(-1, 128, 7, 7)
        h = F.relu(self.n1(h))
        h = F.relu(self.n2(self.t1(h)))
        return torch.tanh(self.t2(h))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    d, g = D(), G()
    for m in [*d.modules(), *g.modules()]:
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(m.weight, 0, 0.05)
    step_d = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    step_g = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))

    def step(x, z, onehot):
        fake = g(z, onehot)
        step_d.zero_grad()
        (F.softplus(-d(x, onehot)).mean() + F.softplus(d(fake.detach(), onehot)).mean()).backward()
        step_d.step()
        step_g.zero_grad()
        d.requires_grad_(False)
        F.softplus(-d(fake, onehot)).mean().backward()
        d.requires_grad_(True)
        step_g.step()

    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        batch, steps = map(int, line.split())
        x = torch.rand(batch, 1, 28, 28) * 2 - 1
        z = torch.rand(batch, NOISE) * 2 - 1
        onehot = F.one_hot(torch.arange(batch) % CLASSES, CLASSES).float()
        start = time.perf_counter()
        for _ in range(steps):
            step(x, z, onehot)
        print((time.perf_counter() - start) / steps, flush=True)


main()
