"""FastAPI on uvicorn, with uvloop and httptools."""

from fastapi import FastAPI, Request
from pydantic import BaseModel

from benchmarks.serving.peers import served

app = FastAPI()
gbdt = served.gbdt()


class Rows(BaseModel):
    instances: list[list[float]]


@app.post("/echo")
async def echo(body: dict) -> dict:
    return body


@app.post("/gbdt")
def predict(body: Rows) -> dict:
    # A plain function, as the tutorial has it for code that blocks: FastAPI runs it in its pool of threads.
    return {"predictions": served.predict(gbdt, body.instances)}


@app.post("/gbdt-csv")
async def predict_csv(request: Request) -> dict:
    return {"predictions": served.predict(gbdt, served.parse_csv(await request.body()))}
